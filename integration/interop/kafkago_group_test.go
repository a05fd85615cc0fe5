package interop

import (
	"context"
	"errors"

	"github.com/segmentio/kafka-go"
)

// kafkaGoMember is a member of a group by kafka-go.
type kafkaGoMember struct {
	reader      *kafka.Reader
	uncommitted []kafka.Message
}

func (kafkaGo) join(_ context.Context, group, topic string) (member, error) {
	return &kafkaGoMember{reader: kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{server.addr}, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset,
		HeartbeatInterval: heartbeat, JoinGroupBackoff: heartbeat, MaxWait: pollTime, SessionTimeout: unhurried,
	})}, nil
}

func (m *kafkaGoMember) poll(ctx context.Context) (records []record, err error) {
	short, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	for {
		message, err := m.reader.FetchMessage(short)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		m.uncommitted = append(m.uncommitted, message)
		records = append(records, fromKafkaGo(message))
	}
}

func (m *kafkaGoMember) commit(ctx context.Context) error {
	messages := m.uncommitted
	m.uncommitted = nil
	return m.reader.CommitMessages(ctx, messages...)
}

func (m *kafkaGoMember) leave(context.Context) error { return m.reader.Close() }
