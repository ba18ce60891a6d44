DROP TABLE to_device;
