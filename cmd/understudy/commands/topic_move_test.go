package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy"
	hubs "understudy/cluster/local"
	"understudy/config"
)

// nodes starts a cluster within this process and makes it the default of --brokers.
func nodes(t *testing.T, n int) []*understudy.Broker {
	t.Helper()
	hub := hubs.NewHub()
	list := make([]*understudy.Broker, n)
	var seeds []string
	for i := range list {
		cfg := config.Default()
		cfg.NodeID, cfg.InMemory, cfg.Listen, cfg.AdminListen = int32(i+1), true, "127.0.0.1:0", config.AdminOff
		b, err := understudy.Start(t.Context(), cfg, understudy.WithHub(hub))
		if err != nil {
			t.Fatal(err)
		}
		list[i] = b
		seeds = append(seeds, b.Addr().String())
		t.Cleanup(func() { halt(t, b) })
	}
	t.Setenv(brokersEnv, strings.Join(seeds, ","))
	return list
}

// halt stops a node in order.
func halt(t *testing.T, b *understudy.Broker) {
	t.Helper()
	if err := b.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// described is what `topic describe` says of a topic.
func described(t *testing.T, topic string) topicDescription {
	t.Helper()
	var topics []topicDescription
	if err := json.Unmarshal([]byte(must(t, "", "topic", "describe", topic, "-o", "json")), &topics); err != nil || len(topics) != 1 {
		t.Fatalf("%v: %+v", err, topics)
	}
	return topics[0]
}

// until describes a topic until it is as wanted.
func until(t *testing.T, topic string, wanted func(topicDescription) bool) {
	t.Helper()
	late, again := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer again.Stop()
	for d := described(t, topic); !wanted(d); d = described(t, topic) {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("never as wanted: %+v", d)
		}
	}
}

// everywhere waits until each of some nodes tells clients of a partition what is
// wanted. A change is answered when the node that was asked shows it, and
// the commands ask any node.
func everywhere(t *testing.T, nodes []*understudy.Broker, topic string, partition int32, wanted func(kmsg.MetadataResponseTopicPartition) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	for _, node := range nodes {
		cl, err := kgo.NewClient(kgo.SeedBrokers(node.Addr().String()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for {
			resp, err := req.RequestWith(ctx, cl.SeedBrokers()[0])
			if err != nil {
				t.Fatal(err)
			}
			ps := resp.Topics[0].Partitions
			if i := slices.IndexFunc(ps, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Partition == partition }); i >= 0 && wanted(ps[i]) {
				break
			}
		}
	}
}

func TestTopicMove(t *testing.T) {
	list := nodes(t, 3)
	must(t, "", "topic", "create", "orders", "--partitions", "2", "--replicas", "2")
	must(t, "a\nb\nc\n", "produce", "orders", "--partition", "1")
	d := described(t, "orders")
	here := d.Partitions[1].Replicas
	free := 6 - here[0] - here[1]
	target := fmt.Sprintf("%d,%d", free, here[1])

	have := must(t, "", "topic", "move", "orders", "--partition", "1", "--replicas", target, "--wait")
	matches(t, have, `^orders-1 has moved to `+target+`\n$`)
	everywhere(t, list, "orders", 1, func(p kmsg.MetadataResponseTopicPartition) bool { return len(p.Replicas) == 2 && p.Replicas[0] == free })
	if p := described(t, "orders").Partitions[1]; ids(p.Replicas) != target || p.Adding != nil || p.Leader == here[0] || p.End != 3 {
		t.Errorf("%+v", p)
	}
	matches(t, must(t, "", "topic", "moves"), `^no replicas are being moved\n$`)
	matches(t, must(t, "", "topic", "moves", "orders", "-o", "json"), `^\[\]\n$`)

	refuse(t, exitFailed, "orders-1 is not being moved", "topic", "move", "orders", "--partition", "1", "--cancel")
	refuse(t, exitFailed, "there is no partition orders-7", "topic", "move", "orders", "--partition", "7", "--replicas", "1")
	refuse(t, exitFailed, "broker 9 is not registered", "topic", "move", "orders", "--partition", "1", "--replicas", "9")
	refuse(t, exitFailed, "there is no topic none", "topic", "moves", "none")
	refuse(t, exitUsage, "--partition", "topic", "move", "orders", "--replicas", "1")
	refuse(t, exitUsage, "either", "topic", "move", "orders", "--partition", "1")
	refuse(t, exitUsage, "1,2,3", "topic", "move", "orders", "--partition", "1", "--replicas", "1,x")
}

// TestTopicMovesAreShown holds a move up, looks at it and takes it back.
func TestTopicMovesAreShown(t *testing.T) {
	list := nodes(t, 3)
	must(t, "", "topic", "create", "orders", "--replicas", "2")
	must(t, strings.Repeat("record\n", 100), "produce", "orders")
	here := described(t, "orders").Partitions[0].Replicas
	free := 6 - here[0] - here[1]
	halt(t, list[free-1]) // so that it cannot be filled
	left := slices.Delete(slices.Clone(list), int(free-1), int(free))
	replicas := func(want string) func(kmsg.MetadataResponseTopicPartition) bool {
		return func(p kmsg.MetadataResponseTopicPartition) bool { return ids(p.Replicas) == want }
	}
	target := fmt.Sprintf("%d,%d", free, here[1])
	matches(t, must(t, "", "topic", "move", "orders", "--partition", "0", "--replicas", target), `^orders-0 moves to `+target)
	all := fmt.Sprintf("%d,%d,%d", here[0], here[1], free)
	everywhere(t, left, "orders", 0, replicas(all))
	matches(t, must(t, "", "topic", "moves"), fmt.Sprintf(`(?m)^orders +0 +%s +%d +%d +not known$`, all, free, here[0]))
	matches(t, must(t, "", "topic", "moves", "orders", "-o", "json"), fmt.Sprintf(`"adding": \[\n +%d\n`, free))
	matches(t, must(t, "", "topic", "describe", "orders"), fmt.Sprintf(`down: %d; adding %d; removing %d`, free, free, here[0]))
	matches(t, must(t, "", "topic", "move", "orders", "--partition", "0", "--cancel"), `^orders-0 does not move any more\n$`)
	everywhere(t, left, "orders", 0, replicas(ids(here)))
	if p := described(t, "orders").Partitions[0]; ids(p.Replicas) != ids(here) || p.Adding != nil {
		t.Errorf("%+v", p)
	}
}

// TestTopicElect has leaders return, and go on without the only in-sync replica.
func TestTopicElect(t *testing.T) {
	list := nodes(t, 3)
	must(t, "", "topic", "create", "orders", "--replicas", "2")
	matches(t, must(t, "", "topic", "elect"), `^no election is needed\n$`)
	refuse(t, exitUsage, "say which topic", "topic", "elect", "--unclean")
	refuse(t, exitFailed, "there is no topic none", "topic", "elect", "none")
	refuse(t, exitFailed, "there is no partition orders-5", "topic", "elect", "orders", "--partition", "5")
	must(t, "1\n2\n3\n", "produce", "orders")
	here := described(t, "orders").Partitions[0].Replicas
	must(t, "", "topic", "move", "orders", "--partition", "0", "--replicas", fmt.Sprintf("%d,%d", here[1], here[0]))
	everywhere(t, list, "orders", 0, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Replicas[0] == here[1] })
	matches(t, must(t, "", "topic", "elect", "orders"), `^orders-0 has another leader\n$`)
	everywhere(t, list, "orders", 0, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader == here[1] })

	stay := here[0]
	must(t, "", "topic", "create", "single", "--replicas", "1")
	until(t, "orders", func(d topicDescription) bool { return len(d.Partitions[0].ISR) == 2 })
	only := described(t, "single").Partitions[0].Leader
	if only == stay {
		stay = here[1]
	}
	must(t, "1\n2\n", "produce", "single")
	halt(t, list[only-1])
	left := slices.Delete(slices.Clone(list), int(only-1), int(only))
	everywhere(t, left, "single", 0, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader < 0 })
	matches(t, must(t, "", "topic", "describe", "single"), fmt.Sprintf(`offline: comes back with node %d`, only))
	r := run(t, strings.NewReader(""), "topic", "elect", "single")
	if r.code != exitFailed {
		t.Errorf("exit code %d", r.code)
	}
	matches(t, r.out, fmt.Sprintf(`single-0 has no leader. In sync were nodes %d: `, only), fmt.Sprintf(`node %d is down; what it holds is not known`, only), `understudy topic elect single --partition 0 --unclean`)
	refuse(t, exitFailed, "no other leader for 1 partition", "topic", "elect", "single", "--unclean") // there is no other replica

	must(t, "", "topic", "move", "single", "--partition", "0", "--replicas", fmt.Sprint(stay))
	everywhere(t, left, "single", 0, func(p kmsg.MetadataResponseTopicPartition) bool { return slices.Contains(p.Replicas, stay) })
	r = run(t, strings.NewReader(""), "topic", "elect", "single", "--unclean")
	if r.code != exitOK {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	matches(t, r.err, fmt.Sprintf(`node %d holds the records below offset 0`, stay))
	matches(t, r.out, fmt.Sprintf(`^single-0 has a leader: node %d holds records below offset 0; whether more were committed is not known\n$`, stay))
	must(t, "1\n", "produce", "single")
}

func TestAPartitionSaysAllThatIsOutOfTheOrdinary(t *testing.T) {
	p := partitionDescription{Error: "the end is not known yet", Offline: []int32{3, 2}, Adding: []int32{4}}
	if have, want := p.state(), "the end is not known yet; down: 3,2; adding 4"; have != want {
		t.Errorf("%q, not %q", have, want)
	}
}
