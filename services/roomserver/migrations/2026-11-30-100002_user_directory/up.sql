-- The directory of local users: who is found by which words. store::backfill adds the users who are here already.
CREATE TABLE user_directory (
    user_id text PRIMARY KEY,
    display_name text,
    avatar_url text,
    words text NOT NULL
);
COMMENT ON TABLE user_directory IS 'Users of this server who have not been deactivated, as the directory tells them. Who may find whom is decided by rooms.';
COMMENT ON COLUMN user_directory.user_id IS 'User ID.';
COMMENT ON COLUMN user_directory.display_name IS 'Display name of the profile; U+0000 is replaced, and what is long is cut off.';
COMMENT ON COLUMN user_directory.avatar_url IS 'Avatar of the profile, likewise.';
COMMENT ON COLUMN user_directory.words IS 'Words of user ID and display name in lower case, each after a space.';

CREATE TABLE user_directory_words (
    word text COLLATE "C" NOT NULL,
    user_id text NOT NULL,
    PRIMARY KEY (word, user_id)
);
COMMENT ON TABLE user_directory_words IS 'What users are found by: each search reads a range of words that begin the same.';
COMMENT ON COLUMN user_directory_words.word IS 'A word, or the whole, of user ID or display name, in lower case, at most 64 bytes.';
COMMENT ON COLUMN user_directory_words.user_id IS 'User ID.';
CREATE INDEX user_directory_words_user ON user_directory_words (user_id);
INSERT INTO backfills (name, position) SELECT 'user_directory', '' WHERE EXISTS (SELECT FROM accounts);
