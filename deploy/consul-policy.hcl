# The least rights a broker's token needs. Put the cluster's name (--cluster) in
# the place of "production".

key_prefix "understudy/production/" { policy = "write" } # metadata, and the controller's lock
service "understudy"                { policy = "write" } # its own registration and check
session_prefix ""                   { policy = "write" } # its session, which hangs on that check
node_prefix ""                      { policy = "read" }  # who else there is
