"""Pictures in and out, data sets, loaders, and the commands that prepare and check them."""
