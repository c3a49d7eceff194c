"""The command line: a few lines over one function of the library, a file each."""
