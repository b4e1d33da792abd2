"""The Grafana dashboards as code; `make schema` writes them to `helm/files/dashboards`."""
