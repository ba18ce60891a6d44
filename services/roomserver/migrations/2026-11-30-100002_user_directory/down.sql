DELETE FROM backfills WHERE name = 'user_directory';
DROP TABLE user_directory_words;
DROP TABLE user_directory;
