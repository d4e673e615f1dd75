"""Code that runs in the process under test, as scripts by their paths: it imports nothing else of isan."""
