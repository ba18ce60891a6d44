DROP TABLE out_of_band_memberships;
