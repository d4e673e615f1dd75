"""How much of a module the exercise of `isan check` tries, counted in the main interpreter.

sys.monitoring (3.12) tells of each call that Python code makes, of whatever exercise. It is used in the main
interpreter alone, where no other interpreter runs.
"""
import sys

from check_target_reach import BUILTIN, CYTHON, METHOD, MODULE, Reach
from check_target_reach import dict_of_type, is_method, is_type, mro_of_type, name_of_type

TOOL = 4                # sys.monitoring reserves 0 to 2 and 5 for debuggers, coverage, profilers and optimizers


class Tried:
    """with Tried() as tried: what is called meanwhile, and what of it runs.

    A call runs the function if it returns, or raises anything but the TypeError that wrong arguments get.
    """

    def __init__(self):
        self.known = {}         # id -> function or type; kept, so that no other object gets its address
        self.called, self.ran, self.raised = set(), set(), None

    def __enter__(self):
        self.monitoring = getattr(sys, "monitoring", None)
        if self.monitoring and self.monitoring.get_tool(TOOL) is None:
            events = self.monitoring.events
            self.monitoring.use_tool_id(TOOL, "isan check")
            for event, function in ((events.CALL, self.on_call), (events.C_RETURN, self.on_return),
                                    (events.C_RAISE, self.on_c_raise), (events.RAISE, self.on_raise)):
                self.monitoring.register_callback(TOOL, event, function)
            self.monitoring.set_events(TOOL, events.CALL | events.RAISE)    # CALL brings C_RETURN and C_RAISE
        else:
            self.monitoring = None
        return self

    def __exit__(self, *unused):
        if self.monitoring:
            self.monitoring.set_events(TOOL, 0)
            self.monitoring.free_tool_id(TOOL)

    def key(self, function):
        """The id of a function, of a method by its descriptor, or of a type. None for Python code."""
        kind = type(function)
        if kind is BUILTIN:
            bound = function.__self__
            if bound is not None and not issubclass(type(bound), MODULE):
                for one in mro_of_type(bound if is_type(bound) else type(bound)):
                    found = dict_of_type(one).get(function.__name__)
                    if found is not None:
                        function = found.__func__ if type(found) is staticmethod else found
                        break
        elif not is_method(function) and not is_type(function) and name_of_type(kind) != CYTHON:
            return None
        self.known[id(function)] = function
        return id(function)

    def on_call(self, code, offset, function, argument):
        key = self.key(function)
        if key:
            self.called.add(key)

    def on_return(self, code, offset, function, argument):
        key = self.key(function)
        if key:
            self.ran.add(key)
            # A method that runs shows that there is an object.
            if type(function) is METHOD:
                self.known[id(type(argument))] = type(argument)
                self.ran.add(id(type(argument)))

    def on_c_raise(self, code, offset, function, argument):
        self.raised = self.key(function)

    def on_raise(self, code, offset, error):
        if self.raised and not isinstance(error, TypeError):
            self.ran.add(self.raised)
        self.raised = None

    def counts(self, given):
        """What there is and what was tried; None where that is not known (before 3.12)."""
        functions, types = Reach(given).counted()
        known = self.monitoring is not None
        return {"functions": len(functions), "functions_called": len(functions & self.called) if known else None,
                "functions_run": len(functions & self.ran) if known else None,
                "types": len(types), "types_instantiated": len(types & self.ran) if known else None}
