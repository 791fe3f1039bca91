"""The log, bodies and live traffic on NATS, as a thin layer of ours on nats-py's core client.

nats-py's own JetStream readers are not used: its ordered consumer drops silently on overflow, its
`fetch` misses restarts, and its publish futures may never resolve (docs/adr/0002).
"""
