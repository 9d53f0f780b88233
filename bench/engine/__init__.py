"""The interface to llama.cpp, and nothing else. No other folder imports llama_cpp."""
