"""Reading what the recorder wrote: logs, line tables of code objects, the recorder's own tables."""
