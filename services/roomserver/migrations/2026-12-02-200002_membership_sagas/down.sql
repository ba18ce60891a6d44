DROP TABLE membership_sagas;
