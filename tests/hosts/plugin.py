"""A plug-in of WeeChat with one command, named like this file, which counts its calls in an extension's dictionary."""
import importlib
import os

import weechat

NAME = os.path.splitext(os.path.basename(__file__))[0]
extension = importlib.import_module(os.environ["EXTENSION"])


def count(data, buffer, arguments):
    extension.cache[NAME] = extension.cache.get(NAME, 0) + 1
    weechat.command("", f"/print -stdout -escape {NAME} {extension.cache[NAME]}\\n")
    return weechat.WEECHAT_RC_OK


weechat.register(NAME, "isan", "1", "Apache-2.0", "Counts its calls", "", "")
weechat.hook_command(NAME, "Count this call.", "", "", "", "count", "")
