"""The cloud's neighbours, one file or folder per vendor."""
