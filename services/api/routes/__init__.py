"""What can be asked for, one module for each thing: parse, call, encode."""
