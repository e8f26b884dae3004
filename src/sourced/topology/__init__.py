"""Who makes what, and who answers it: an app as a graph, read from its declarations and from its handlers' code."""
