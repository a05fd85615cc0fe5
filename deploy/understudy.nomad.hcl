# Three brokers that find each other in the Consul agents of their hosts. Each
# keeps its data on the host volume "understudy" and so stays on its host.

variable "cluster" {
  type    = string
  default = "production"
}

variable "image" {
  type    = string
  default = "understudy:latest"
}

job "understudy" {
  type = "service"

  # One after the other, and only when the last one serves.
  update {
    max_parallel     = 1
    min_healthy_time = "10s"
    healthy_deadline = "5m"
    health_check     = "checks"
  }

  group "broker" {
    count = 3

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    volume "data" {
      type   = "host"
      source = "understudy"
    }

    network {
      mode = "host"
      port "kafka" { static = 9092 }
      port "link"  { static = 9192 }
      port "admin" { static = 9644 }
    }

    # The brokers register the service "understudy" themselves; this one is for
    # Nomad to see whether a broker serves.
    service {
      name = "understudy-admin"
      port = "admin"
      check {
        type     = "http"
        path     = "/readyz"
        interval = "5s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 10
      interval = "10m"
      delay    = "1s"
      mode     = "delay"
    }

    task "understudy" {
      driver       = "docker"
      kill_signal  = "SIGTERM"
      kill_timeout = "20s"

      config {
        image        = var.image
        network_mode = "host"
        args = [
          "--cluster", var.cluster,
          "--consul", "127.0.0.1:8500",
          "--listen", "${NOMAD_ADDR_kafka}",
          "--link-listen", "${NOMAD_ADDR_link}",
          "--admin-listen", "${NOMAD_ADDR_admin}",
          "--broker-rack", "${node.datacenter}",
          "--default-replication-factor", "3",
          "--min-insync-replicas", "2",
        ]
      }

      volume_mount {
        volume      = "data"
        destination = "/data"
      }

      resources {
        cpu    = 2000
        memory = 2048
      }
    }
  }
}
