"""isan check: which modules (plan), the steps (run, module), the verdict (judge), results (store), their formats."""
