"""The command line: one module for each command, which calls one function of the library."""
