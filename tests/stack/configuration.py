"""The configuration files of the stack's services; `{...}` is filled when they start."""

from __future__ import annotations

POSTGRES_CONF = """
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
wal_level = logical
max_replication_slots = 16
max_wal_senders = 16
shared_buffers = 128MB
max_wal_size = 2GB
timezone = 'UTC'
# A test's database need not survive a power cut.
fsync = off
synchronous_commit = off
full_page_writes = off
"""

KAFKA_CONF = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""

# service_load finds plugins in 3 s, where the default scan of the class path takes 20.
# Offsets are flushed every half second, so that a test soon knows all was streamed.
CONNECT_CONF = """
bootstrap.servers={bootstrap}
group.id=medallion-connect
listeners=http://{host}:{port}
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
offset.storage.topic=_connect_offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
config.storage.topic=_connect_configs
config.storage.replication.factor=1
status.storage.topic=_connect_status
status.storage.replication.factor=1
status.storage.partitions=1
offset.flush.interval.ms=500
scheduled.rebalance.max.delay.ms=0
plugin.path={plugins}
plugin.discovery=service_load
"""
