"""Three Kafka nodes of the campaign's own, each of them broker and controller; what is acknowledged is on two at least.

The jars are those of the test stack. `down` ends the nodes and forgets their data.
"""

import os
import signal
import shutil
import subprocess
import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from line import ROOT, Trouble, free_port

JVM = ["-Xms128m", "-Xmx384m", f"-Dlog4j2.configurationFile={ROOT / 'tests' / 'stack' / 'log4j2.properties'}"]
READY_S = 90
SETTINGS = """process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
unclean.leader.election.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A node that is gone is noticed after 3 s, not after 9.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
share.coordinator.state.topic.num.partitions=4
leader.imbalance.check.interval.seconds=5
log.cleaner.dedupe.buffer.size=33554432
"""


class Cluster:
    """Nodes 1, 2, 3. The data of one may lie elsewhere, e.g. on a small disk."""

    def __init__(self, home: Path, elsewhere: dict[int, Path] | None = None):
        self.home = home
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self.jars = f"{os.environ['NOCTUS_TEST_KAFKA_LIBS']}/*"
        ports = {node: (free_port(), free_port()) for node in (1, 2, 3)}
        voters = ",".join(f"{node}@127.0.0.1:{controller}" for node, (_, controller) in ports.items())
        self.brokers = ",".join(f"127.0.0.1:{port}" for port, _ in ports.values())
        self.processes: dict[int, subprocess.Popen] = {}
        identity = self._tool("random-uuid").strip().splitlines()[-1]
        for node, (port, controller) in ports.items():
            data = (elsewhere or {}).get(node, home / f"data-{node}")
            text = SETTINGS.format(node=node, voters=voters, port=port, controller=controller, data=data)
            self._config(node).write_text(text, encoding="utf-8")
            self._tool("format", "-t", identity, "-c", str(self._config(node)))
        for node in ports:
            self.start(node)
        self.admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 2})
        try:
            self.wait(3)
        except BaseException:
            self.down()
            raise

    def _config(self, node: int) -> Path:
        return self.home / f"node-{node}.properties"

    def _tool(self, *arguments: str) -> str:
        command = ["java", "-cp", self.jars, *JVM, "kafka.tools.StorageTool", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        if done.returncode:
            raise Trouble(f"kafka storage {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, node: int) -> None:
        with open(self.home / f"node-{node}.log", "ab") as out:
            self.processes[node] = subprocess.Popen(
                ["java", "-cp", self.jars, *JVM, "kafka.Kafka", str(self._config(node))],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )

    def runs(self, node: int) -> bool:
        return self.processes[node].poll() is None

    def kill(self, node: int) -> None:
        self.processes[node].send_signal(signal.SIGKILL)
        self.processes[node].wait()

    def wait(self, nodes: int) -> None:
        """Until so many nodes are in the cluster and every partition has a copy in sync on each of them."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                told = self.admin.list_topics(timeout=5)
                partitions = [p for t in told.topics.values() for p in t.partitions.values()]
                if len(told.brokers) >= nodes and all(p.leader > 0 and len(p.isrs) >= min(nodes, len(p.replicas)) for p in partitions):
                    return
            except KafkaException:
                pass  # not yet
            if time.monotonic() > deadline:
                raise Trouble(f"{nodes} nodes of Kafka are not in sync within {READY_S} s; see {self.home}")
            time.sleep(0.2)

    def leader(self, topic: str, partition: int) -> int:
        return self.admin.list_topics(timeout=10).topics[topic].partitions[partition].leader

    def coordinator(self, group: str) -> int:
        """The node that looks after a consumer group."""
        return self.admin.describe_consumer_groups([group])[group].result(10).coordinator.id

    def led_by(self, node: int, prefix: str) -> list[tuple]:
        """(logical topic, partition) of everything under the prefix that this node leads."""
        topics = self.admin.list_topics(timeout=10).topics
        return [
            (name.removeprefix(prefix), partition.id)
            for name, topic in topics.items() if name.startswith(prefix)
            for partition in topic.partitions.values() if partition.leader == node
        ]

    def down(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        for data in self.home.glob("data-*"):
            shutil.rmtree(data, ignore_errors=True)


def leaders(line, schedule, cluster: Cluster) -> None:
    """The node that leads an input's partition, or looks after a role's group, is killed and comes back (F27)."""
    asked = [
        ("the leader of an input's partition", lambda: cluster.leader(f"{line.prefix}order-requests", schedule.random.randrange(4))),
        ("the coordinator of the gates", lambda: cluster.coordinator(f"{line.group_prefix}noctus-gate")),
        ("the leader of exec events", lambda: cluster.leader(f"{line.prefix}exec-events", schedule.random.randrange(4))),
    ]
    turn = 0
    while not schedule.ending.wait(schedule.random.uniform(4, 7)):
        what, who = asked[turn % len(asked)]
        node = who()
        led = cluster.led_by(node, line.prefix)
        turn += 1
        cluster.kill(node)
        schedule.outage("kafka", led)
        schedule.count(f"Kafka: {what} killed, one of three nodes")
        schedule.ending.wait(schedule.random.uniform(7, 9))
        cluster.start(node)
        cluster.wait(3)


def two_nodes(line, schedule, cluster: Cluster) -> None:
    """Two of three nodes are killed: nothing can be written any more until they are back (F27, F32)."""
    while not schedule.ending.wait(schedule.random.uniform(8, 12)):
        nodes = schedule.random.sample([1, 2, 3], 2)
        for node in nodes:
            cluster.kill(node)
        schedule.count("Kafka: two of three nodes killed")
        schedule.ending.wait(schedule.random.uniform(4, 8))
        for node in nodes:
            cluster.start(node)
        cluster.wait(2)
        schedule.outage("kafka", None)
        cluster.wait(3)


def full_disk(line, schedule, cluster: Cluster, disk) -> None:
    """The disk of one node is full: the node ends, others lead; with room again it comes back (F39)."""
    while not schedule.ending.wait(schedule.random.uniform(8, 12)):
        led = cluster.led_by(1, line.prefix)
        disk.fill()
        schedule.outage("kafka", led)
        schedule.count("the disk of one of three Kafka nodes full, and free again")
        until = time.monotonic() + schedule.random.uniform(7, 10)
        while time.monotonic() < until and not schedule.ending.wait(0.2):
            disk.fill()
        disk.free()
        if cluster.runs(1):
            schedule.count("Kafka: a node that ran on without a disk, killed")
            cluster.kill(1)
        cluster.start(1)
        cluster.wait(3)
