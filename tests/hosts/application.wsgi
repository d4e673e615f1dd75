"""A WSGI application that counts its requests in an extension's dictionary."""
import importlib
import os

extension = importlib.import_module(os.environ["EXTENSION"])


def application(environ, start_response):
    name = environ["mod_wsgi.application_group"]
    extension.cache[name] = extension.cache.get(name, 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {name} {extension.cache[name]}".encode()]
