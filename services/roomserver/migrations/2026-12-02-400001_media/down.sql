DROP TABLE media_thumbnails;
DROP TABLE media;
DROP TABLE media_users;
