"""How each kind of file becomes a text with sections."""
