DROP TABLE federation_blocks;
