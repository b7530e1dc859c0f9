"""What the commands do: each file is the work behind one command, callable from Python too."""
