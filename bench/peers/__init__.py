"""The same work done by llama.cpp's own tools, side by side."""
