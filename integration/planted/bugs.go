package main

// bug is something small that is wrong.
type bug struct {
	name   string
	what   string   // in words, for the table
	within int      // seeds, from 1 on, in which it is to be found
	as     []string // what it is found as: one of these
	// changes plant it: BUG stands for its switch.
	changes []change
}

// change is one place of the source, and what it reads with the bug in it.
type change struct{ file, old, now string }

const (
	leader     = "cluster/replica/leader.go"
	follower   = "cluster/replica/follower.go"
	progress   = "cluster/replica/progress.go"
	isr        = "cluster/replica/isr.go"
	core       = "cluster/replica/replica.go"
	assign     = "cluster/replica/assign.go"
	electing   = "cluster/election/election.go"
	isrChange  = "cluster/election/isr.go"
	moving     = "cluster/election/move.go"
	brokers    = "actors/controller/brokers.go"
	controller = "actors/controller/actor.go"
	machine    = "actors/partition/machine.go"
	payload    = "actors/partition/payload.go"
	actor      = "actors/partition/actor.go"
	producers  = "messages/producer/state.go"
	entries    = "messages/producer/entry.go"
	syncing    = "persistence/log/sync.go"
	recovering = "persistence/log/recovered.go"
	truncating = "persistence/log/truncate.go"
	verifying  = "persistence/segment/verify.go"
	groupLoad  = "actors/group/load.go"
	groupWrite = "actors/group/write.go"
	generation = "actors/group/core/generation.go"
	groupJoin  = "actors/group/core/join.go"
	members    = "actors/group/core/member.go"
	offsets    = "actors/group/core/offsets.go"
)

// one is a bug that is one change.
func one(file, old, now string) []change { return []change{{file, old, now}} }

// loss is how it shows that what was committed is not there any more: nothing is
// in its place yet, or something else is.
var loss = []string{"lost-write", "inconsistent-offsets"}

// groupLoss is how it shows that what a group has committed is not there any more.
var groupLoss = []string{"commit-regression", "generation-falls"}

var bugs = []bug{
	{name: "repetition-answered-with-another-offset", what: "a batch that is sent again is answered with the offset after its own", within: 60, as: []string{"early-acknowledgement", "lost-write", "inconsistent-offsets"},
		changes: one(producers, "Base: w.baseOffset(), Last:", "Base: w.baseOffset() + map[bool]int64{true: 1}[BUG], Last:")},
	{name: "high-watermark-falls", what: "the high watermark follows the slowest replica down, too", within: 60, as: []string{"high-watermark-falls"},
		changes: one(leader, "if hw > r.hw {", "if hw > r.hw || hw < r.hw && hw >= 0 && BUG {")},
	{name: "uncommitted-records-deleted", what: "records above the high watermark may be deleted", within: 60, as: []string{"actor-failed", "bad-status"},
		changes: one(leader, "if before < 0 || before > r.hw {", "if before < 0 || before > r.hw && !BUG {")},
	{name: "acknowledged-before-sync", what: "the leader counts what it has written, and not what is on its disk", within: 40, as: []string{"bad-status"},
		changes: one(leader, "if r.settings.WriteCaching {\n\t\thw = r.end", "if r.settings.WriteCaching || BUG {\n\t\thw = r.end")},
	{name: "follower-acknowledges-before-sync", what: "a follower acknowledges what it has written, and not what is on its disk", within: 100, as: loss,
		changes: one(follower, "durable := min(r.durable, f.matched)\n", "durable := min(r.durable, f.matched)\n\tif BUG {\n\t\tdurable = f.matched\n\t}\n")},
	{name: "followers-not-waited-for", what: "the high watermark is what the leader alone has on disk", within: 100, as: []string{"lost-write", "inconsistent-offsets", "actor-failed"},
		changes: one(leader, "if f.counts() {\n\t\t\thw = min", "if f.counts() && !BUG {\n\t\t\thw = min")},
	{name: "proposed-member-not-waited-for", what: "the high watermark does not wait for who may be in sync already: ISR as of the last answer", within: 1500, as: loss,
		changes: one(progress, "return f.isr || f.proposed || f.joining", "return f.isr || (f.proposed || f.joining) && !BUG")},
	{name: "member-dropped-before-the-controller-says", what: "the high watermark passes a member of the ISR that lags, before the controller has taken it out", within: 100, as: []string{"lost-write", "inconsistent-offsets", "forgot-producer"},
		changes: one(progress, "func (f *progress) counts() bool {", "func (f *progress) counts() bool {\n\tif f.isr && (f.lagging || f.down) && BUG {\n\t\treturn false\n\t}\n\t")},
	{name: "acks-all-not-waited-for", what: "acks=all is answered when the leader has appended", within: 40, as: []string{"early-acknowledgement"},
		changes: one(leader, "if p.Acks == messages.AcksAll {\n\t\tr.lead", "if p.Acks == messages.AcksAll && !BUG {\n\t\tr.lead")},
	{name: "repetition-answered-at-once", what: "a batch that is sent again is acknowledged though it is not committed", within: 60, as: []string{"early-acknowledgement"},
		changes: one(leader, "case r.role == Leader && last < r.hw:", "case r.role == Leader && (last < r.hw || BUG):")},
	{name: "high-watermark-beyond-the-log", what: "a follower takes over the leader's high watermark, whatever it has itself", within: 40, as: []string{"bad-status"},
		changes: one(follower, "r.hw = max(r.hw, min(f.hw, r.reported()))", "if BUG {\n\t\tr.hw = max(r.hw, f.hw)\n\t}\n\tr.hw = max(r.hw, min(f.hw, r.reported()))")},
	{name: "joins-the-isr-early", what: "a follower joins the ISR before it has what is committed", within: 100, as: loss,
		changes: one(isr, "match >= max(r.hw, r.lead.epochStart, f.goal)", "(match >= max(r.hw, r.lead.epochStart, f.goal) || match >= 0 && BUG)")},
	{name: "epoch-ignored-on-append", what: "a follower takes batches of an older epoch's leader", within: 100, as: []string{"nonsense", "inconsistent-offsets", "lost-write"},
		changes: []change{
			{follower, "case m.Epoch < r.epoch:\n", "case m.Epoch < r.epoch && !BUG:\n"},
			{follower, "case r.role != Follower || r.leader != from:", "case r.role != Follower || r.leader != from && !BUG:"},
		}},
	{name: "logs-compared-by-offset-alone", what: "a follower that is as long as the leader's log takes it for the same, whatever the epochs", within: 100, as: []string{"lost-write", "inconsistent-offsets", "actor-failed"},
		changes: one(follower, "!deleted && r.epochs.at(m.Base-1) != m.PrevEpoch:", "!deleted && r.epochs.at(m.Base-1) != m.PrevEpoch && !BUG:")},
	{name: "truncated-to-the-high-watermark", what: "a follower cuts its log at its own high watermark, as before KIP-101", within: 100, as: loss,
		changes: one(assign, "r.event(BecameFollower{Epoch: epoch, Leader: leader, Cause: cause})",
			"r.event(BecameFollower{Epoch: epoch, Leader: leader, Cause: cause})\n\tif BUG && r.hw < r.end {\n\t\tr.follow.matched = r.hw\n\t\tr.cut(r.hw, Diverged)\n\t\tr.follow.matched = messages.NoOffset\n\t}")},
	{name: "unanswered-acknowledged-on-step-down", what: "who waits is told of success when the leader steps down", within: 60, as: []string{"early-acknowledgement"},
		changes: one(assign, "func (r *Replica) release(err error) int {\n", "func (r *Replica) release(err error) int {\n\tif BUG {\n\t\terr = nil\n\t}\n")},
	{name: "elected-outside-the-isr", what: "whoever is up is elected", within: 100, as: []string{"metadata-unreadable", "unclean-election", "lost-write"},
		changes: one(electing, "if slices.Contains(s.ISR, id) && c.Live(id)", "if (slices.Contains(s.ISR, id) || BUG) && c.Live(id)")},
	{name: "no-epoch-for-a-new-leader", what: "another leader leads in the same epoch", within: 40, as: []string{"two-leaders"},
		changes: one(electing, "if leader != s.Leader || c.NewEpoch {", "if (leader != s.Leader && !BUG) || c.NewEpoch {")},
	{name: "epoch-led-twice", what: "a leader that was killed goes on in its epoch", within: 60, as: []string{"two-leaders"},
		changes: []change{
			{electing, "leader = able[0]\n\t}\n", "leader = able[0]\n\t}\n\tif BUG {\n\t\tc.NewEpoch = false\n\t}\n"},
			{assign, "case a.Epoch <= r.led && !alone:", "case a.Epoch <= r.led && !alone && !BUG:"},
			{core, "r.epoch = max(r.epochs.last(), log.LedEpoch)", "r.epoch = max(r.epochs.last(), log.LedEpoch)\n\tif BUG {\n\t\tr.epoch = messages.NoEpoch\n\t}"},
		}},
	{name: "isr-of-an-old-epoch", what: "the controller grants an ISR that an older epoch's leader asks for", within: 200, as: []string{"not-refused", "metadata-unreadable", "unclean-election", "lost-write"},
		changes: []change{
			{isrChange, "case c.Epoch < s.LeaderEpoch:", "case c.Epoch < s.LeaderEpoch && !BUG:"},
			{isrChange, "case c.From.ID != s.Leader:", "case c.From.ID != s.Leader && !BUG:"},
			{isrChange, "case c.Revision != s.Revision:", "case c.Revision != s.Revision && !BUG:"},
			{isrChange, "if !slices.Contains(ids, s.Leader) {", "if !slices.Contains(ids, s.Leader) && !BUG {"},
		}},
	{name: "empty-disk-stays-in-sync", what: "a node whose disk was replaced stays in the ISR", within: 300, as: []string{"two-leaders", "lost-write"},
		changes: one(electing, "if slices.Contains(s.ISR, c.Emptied) &&", "if !BUG && slices.Contains(s.ISR, c.Emptied) &&")},
	{name: "moved-before-filled", what: "replicas are switched before those that were added are in sync", within: 100, as: loss,
		changes: one(moving, "if !slices.Contains(next.ISR, id) {\n\t\t\treturn s", "if !slices.Contains(next.ISR, id) && BUG {\n\t\t\tnext.ISR = append(slices.Clone(next.ISR), id)\n\t\t} else if !slices.Contains(next.ISR, id) {\n\t\t\treturn s")},
	{name: "producers-forgotten-on-failover", what: "followers do not learn what producers have written", within: 60, as: []string{"forgot-producer", "duplicate"},
		changes: one(producers, "if b.LastOffset() > e.lastOffset {", "if b.LastOffset() > e.lastOffset && !(BUG && s.ahead[id] == nil) {")},
	{name: "sequence-not-checked", what: "a batch is taken whatever its sequence", within: 150, as: []string{"nonmonotonic-send", "forgot-producer"},
		changes: one(entries, "case sequence != want && !unsequenced(b):", "case sequence != want && !unsequenced(b) && !BUG:")},
	{name: "repetition-not-recognised", what: "a batch that is sent again is appended again", within: 60, as: []string{"duplicate", "nonmonotonic-send"},
		changes: one(producers, "if w, ok := e.find(b); ok {", "if w, ok := e.find(b); ok && BUG {\n\t\treturn Verdict{}, nil\n\t} else if ok {")},
	{name: "producers-of-a-cut-tail-kept", what: "what producers wrote is remembered though it was truncated", within: 100, as: []string{"lost-write", "forgot-producer", "inconsistent-offsets", "not-writable"},
		changes: one(truncating, "l.producers, l.snapshot, l.recent, l.view = nil, messages.NoOffset, nil, nil",
			"known, at := l.producers, l.snapshot\n\tl.producers, l.snapshot, l.recent, l.view = nil, messages.NoOffset, nil, nil\n\tif BUG {\n\t\tl.producers, l.snapshot = known, at\n\t}")},
	{name: "failed-sync-repeated", what: "a sync that failed is tried again, and believed", within: 100, as: []string{"lost-write", "actor-failed", "unreadable", "inconsistent-offsets"},
		changes: one(syncing, "if path, err := l.carryOut(w); err != nil {", "path, err := l.carryOut(w)\n\tif err != nil && BUG {\n\t\tpath, err = l.carryOut(w)\n\t}\n\tif err != nil {")},
	{name: "segment-not-synced-when-complete", what: "a segment that is complete is not synced any more", within: 60, as: []string{"actor-failed", "lost-write", "unreadable"},
		changes: one(syncing, "for _, s := range w.sealed {", "for _, s := range w.sealed {\n\t\tif BUG {\n\t\t\tcontinue\n\t\t}")},
	{name: "directory-not-synced", what: "a new segment's name is not synced", within: 40, as: []string{"actor-failed", "lost-write"},
		changes: one(syncing, "if w.names {", "if w.names && !BUG {")},
	{name: "durable-before-sync", what: "what is being synced is noted as durable before it is", within: 150, as: []string{"actor-failed", "lost-write"},
		changes: one(syncing, "w, some, err := l.takeWork()\n\tif err != nil || !some {\n\t\treturn err\n\t}\n",
			"w, some, err := l.takeWork()\n\tif err != nil || !some {\n\t\treturn err\n\t}\n\tif BUG {\n\t\tif err := l.writeMark(w.target, true); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n")},
	{name: "bad-checksum-served", what: "batches are served whatever their checksum", within: 300, as: []string{"corrupt-read"},
		changes: one(verifying, "!w.CheckCRC()", "!(BUG || w.CheckCRC())")},
	{name: "epoch-checkpoint-lost", what: "a replica that was opened again knows no epochs but those it scanned", within: 40, as: []string{"unreadable", "inconsistent-offsets"},
		changes: one(recovering, "known := slices.Clone(kept)\n", "known := slices.Clone(kept)\n\tif BUG {\n\t\tknown, unreadable = nil, nil\n\t}\n")},
	{name: "served-above-the-high-watermark", what: "consumers are shown what is not committed", within: 100, as: loss,
		changes: one(machine, "Log: m.log.Publish(s.HighWatermark)", "Log: m.log.Publish(map[bool]messages.Offset{true: s.End, false: s.HighWatermark}[BUG])")},
	{name: "request-memory-sent-to-followers", what: "what is sent to followers is the request's memory, which is used again", within: 40, as: []string{"nonsense", "corrupt-read", "actor-failed"},
		changes: one(payload, "borrowed(e.Append, sent[0]) {\n", "borrowed(e.Append, sent[0]) && !BUG {\n")},
	{name: "memory-released-early", what: "the memory of what another node sent is used again before it is written", within: 40, as: []string{"actor-failed", "corrupt-read"},
		changes: one(actor, "r.incoming = append(r.incoming, m)", "if BUG {\n\t\t\tdefer m.Release()\n\t\t} else {\n\t\t\tr.incoming = append(r.incoming, m)\n\t\t}")},
	{name: "groups-read-before-all-is-committed", what: "a coordinator reads what its groups have left before all of it is known to be committed", within: 200, as: groupLoss,
		changes: one(groupLoad, "return s.leads(v) && !v.Settling && v.Log.HighWatermark >= v.Log.End", "return s.leads(v) && (BUG || !v.Settling && v.Log.HighWatermark >= v.Log.End)")},
	{name: "commits-of-who-is-out", what: "commits of members that are out of the group are taken", within: 200, as: []string{"zombie-commit", "commit-regression"},
		changes: one(offsets, "m, err := g.find(committing, who.MemberID, who.InstanceID)\n\tswitch {\n", "m, err := g.find(committing, who.MemberID, who.InstanceID)\n\tswitch {\n\tcase err != nil && BUG:\n\t\treturn nil, nil\n")},
	{name: "commit-answered-before-it-is-written", what: "a commit is answered before it is written", within: 100, as: groupLoss,
		changes: one(offsets, "g.write(Write{Offsets: list}, func(err error) {\n", "if BUG {\n\t\tfor i := range list {\n\t\t\tg.keep(&list[i])\n\t\t}\n\t\tg.answer(to, Done{Each: each})\n\t\tg.write(Write{Offsets: list}, func(error) {})\n\t\treturn\n\t}\n\tg.write(Write{Offsets: list}, func(err error) {\n")},
	{name: "failed-commit-acknowledged", what: "a commit is acknowledged though too few replicas have it", within: 200, as: groupLoss,
		changes: one(groupWrite, "\tvar kind messages.Kind\n", "\tif BUG && messages.KindOf(err) != messages.NotLeader && messages.KindOf(err) != messages.FencedLeaderEpoch {\n\t\treturn nil, false\n\t}\n\tvar kind messages.Kind\n")},
	{name: "generation-not-written", what: "members act on a generation that is not written", within: 100, as: []string{"generation-falls", "overlapping-claims", "zombie-commit", "commit-regression"},
		changes: one(generation, "\tg.write(Write{Metadata: md}, func(err error) {\n", "\twrite := g.write\n\tif BUG {\n\t\twrite = func(_ Write, then func(error)) { then(nil) }\n\t}\n\twrite(Write{Metadata: md}, func(err error) {\n")},
	{name: "replaced-member-goes-on", what: "a static member goes on though another start of it has taken its place", within: 300, as: []string{"zombie-commit", "overlapping-claims"},
		changes: []change{
			{members, "case m.id != id:", "case m.id != id && !BUG:"},
			{groupJoin, "\tdelete(g.byID, old)\n", "\tif !BUG {\n\t\tdelete(g.byID, old)\n\t}\n"},
		}},
}
