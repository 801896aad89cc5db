"""gunicorn's configuration for bench/naive_webhook.py."""

worker_class = "gevent"
workers = 1
worker_connections = 4000
keepalive = 2
timeout = 30
control_socket_disable = True
loglevel = "warning"
