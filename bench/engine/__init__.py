"""llama.cpp, and nothing but it: the only folder that knows ctypes."""
