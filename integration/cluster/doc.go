// Package cluster holds clusters of real processes to what is promised of them
// while nodes fall, freeze and are cut off: brokers and Consul's servers, each in
// a network namespace of its own, and clients as people use them, franz-go and
// librdkafka, which produce and consume all the while. Without root, proxies in the
// test's own process stand between them instead (-network proxy), which cut, delay
// and reset what they can.
//
// `make cluster` installs what is needed and runs every fault once;
// REPEATS=20 repeats each as often, and SCENARIO=REGEXP picks tests by name.
// `make chaos MINUTES=5` has faults happen at random instead, more kinds of them,
// to more kinds of clients, and writes a page about it (TestChaos). Both need Linux;
// what needs root besides, the page says, if there is none.
//
// What is asserted is what must hold however slow the machine: each record that
// was acknowledged is there, once, in order; all consumers saw the same; replicas
// are byte for byte alike. Times are measured, and reported in the end.
//
// Reading order: cluster_test.go, consul_test.go and network_test.go (namespaces_test.go,
// proxied_test.go) are a cluster;
// clients_test.go, load_test.go and chaos_groups_test.go who works with it;
// faults_test.go and ills_test.go what goes wrong; judge_test.go what must hold;
// chaos_test.go a run of chaos from begin to end, and chaos_page_test.go its page.
//
// It is a module of its own, so that librdkafka and FUSE stay out of the broker's
// dependencies.
package cluster
