package interop

import (
	"context"
	"errors"
	"time"

	"github.com/IBM/sarama"
)

// saramaMember is a member of a group by Sarama, which calls its handler from
// goroutines of its own.
type saramaMember struct {
	group   sarama.ConsumerGroup
	come    chan saramaMessage
	stop    context.CancelFunc
	stopped chan error
	session sarama.ConsumerGroupSession // the last that a message came in
}

type saramaMessage struct {
	*sarama.ConsumerMessage
	session sarama.ConsumerGroupSession
}

func (c saramaClient) join(ctx context.Context, group, topic string) (member, error) {
	settings := c.settings()
	settings.Consumer.Offsets.Initial = sarama.OffsetOldest
	settings.Consumer.Offsets.AutoCommit.Enable = false
	settings.Consumer.Group.Heartbeat.Interval, settings.Consumer.Group.Session.Timeout = heartbeat, unhurried
	settings.Consumer.Return.Errors = false
	g, err := sarama.NewConsumerGroup([]string{server.addr}, group, settings)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	m := &saramaMember{group: g, come: make(chan saramaMessage), stop: stop, stopped: make(chan error, 1)}
	go func() { m.stopped <- m.run(ctx, topic) }()
	return m, nil
}

// run takes part in one generation after the other.
func (m *saramaMember) run(ctx context.Context, topic string) error {
	for ctx.Err() == nil {
		if err := m.group.Consume(ctx, []string{topic}, m); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (*saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		select {
		case m.come <- saramaMessage{message, session}:
		case <-session.Context().Done():
			return nil
		}
	}
	return nil
}

func (m *saramaMember) poll(ctx context.Context) (records []record, err error) {
	enough := time.After(pollTime)
	for {
		select {
		case message := <-m.come:
			message.session.MarkMessage(message.ConsumerMessage, "")
			m.session = message.session
			records = append(records, fromSarama(message.ConsumerMessage))
		case err := <-m.stopped:
			m.stopped <- err
			return records, errors.Join(errors.New("the member has stopped"), err)
		case <-enough:
			return records, nil
		case <-ctx.Done():
			return records, ctx.Err()
		}
	}
}

func (m *saramaMember) commit(context.Context) error {
	m.session.Commit()
	return nil
}

func (m *saramaMember) leave(context.Context) error {
	m.stop()
	return errors.Join(<-m.stopped, m.group.Close())
}
