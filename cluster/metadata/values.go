package metadata

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"understudy/messages"
)

var (
	errNumber   = errors.New("holds a number that is not written plainly")
	errTrailing = errors.New("has more than one JSON value")
)

// badKey is the error of a key or value that cannot be read.
func badKey(key string, cause error) error {
	return messages.E("metadata", messages.CorruptMessage, key, cause)
}

// The values as they are in the store.
type (
	clusterIDValue struct {
		ID string `json:"id"`
	}
	producersValue struct {
		Next int64 `json:"next"`
	}
	controllerValue struct {
		Broker messages.BrokerID `json:"broker"`
	}
	retiredValue struct {
		Epoch messages.BrokerEpoch `json:"epoch"`
	}
	brokerValue struct {
		Epoch     messages.BrokerEpoch `json:"epoch"`
		Host      string               `json:"host"`
		Port      int32                `json:"port"`
		Rack      string               `json:"rack,omitempty"`
		Admin     string               `json:"admin,omitempty"`
		Directory string               `json:"directory,omitempty"`
		Down      string               `json:"down,omitempty"`
		Draining  bool                 `json:"draining,omitempty"`
	}
	topicValue struct {
		ID         messages.TopicID `json:"id"`
		Partitions int              `json:"partitions"`
		Internal   bool             `json:"internal,omitempty"`
	}
	partitionValue struct {
		Replicas     []messages.BrokerID  `json:"replicas"`
		ISR          []messages.BrokerID  `json:"isr"`
		Leader       messages.BrokerID    `json:"leader"`
		LeaderEpoch  messages.LeaderEpoch `json:"leaderEpoch"`
		UncleanEpoch messages.LeaderEpoch `json:"uncleanEpoch,omitempty"`
		Adding       []messages.BrokerID  `json:"adding,omitempty"`
		Target       []messages.BrokerID  `json:"target,omitempty"`
	}
	configValue map[string]string
)

// checked is a value that knows what must hold in it.
type checked interface{ check() error }

func (v clusterIDValue) check() error {
	if v.ID == "" {
		return errors.New("the cluster id is empty")
	}
	return nil
}

func (v producersValue) check() error {
	if v.Next < 0 {
		return fmt.Errorf("next producer id %d is negative", v.Next)
	}
	return nil
}

func (v controllerValue) check() error {
	if v.Broker < messages.NoBroker {
		return fmt.Errorf("broker %d cannot be", v.Broker)
	}
	return nil
}

func (v retiredValue) check() error {
	if v.Epoch < 0 {
		return fmt.Errorf("epoch %d is negative", v.Epoch)
	}
	return nil
}

func (v brokerValue) check() error {
	if v.Epoch < 0 || v.Port < 0 || v.Port > 65535 {
		return fmt.Errorf("epoch %d or port %d cannot be", v.Epoch, v.Port)
	}
	return nil
}

func (v topicValue) check() error {
	if v.ID.IsZero() {
		return errors.New("the topic id is missing")
	}
	if v.Partitions < 1 {
		return fmt.Errorf("%d partitions, want at least 1", v.Partitions)
	}
	return nil
}

func (v partitionValue) check() error {
	if len(v.Replicas) == 0 || len(v.ISR) == 0 {
		return errors.New("replicas and isr must not be empty")
	}
	for i, r := range v.Replicas {
		if r < 0 || slices.Contains(v.Replicas[:i], r) {
			return fmt.Errorf("replicas %v: %d is doubled or cannot be", v.Replicas, r)
		}
	}
	for i, r := range v.ISR {
		if !slices.Contains(v.Replicas, r) || slices.Contains(v.ISR[:i], r) {
			return fmt.Errorf("isr %v: %d is doubled or not among replicas %v", v.ISR, r, v.Replicas)
		}
	}
	if v.Leader != messages.NoBroker && !slices.Contains(v.ISR, v.Leader) {
		return fmt.Errorf("leader %d is not in isr %v", v.Leader, v.ISR)
	}
	if err := v.checkMove(); err != nil {
		return err
	}
	if v.LeaderEpoch < 0 || v.UncleanEpoch < 0 || v.UncleanEpoch > v.LeaderEpoch {
		return fmt.Errorf("leader epoch %d, or unclean epoch %d, is negative or too new", v.LeaderEpoch, v.UncleanEpoch)
	}
	return nil
}

// checkMove checks that the replicas are the original ones, those that are being
// added and nothing else, and that all of these are wanted.
func (v partitionValue) checkMove() error {
	if len(v.Adding) > 0 && len(v.Target) == 0 || len(v.Adding) >= len(v.Replicas) {
		return fmt.Errorf("adding %v to %v without a target, or without an original replica", v.Adding, v.Replicas)
	}
	for i, id := range v.Target {
		if !slices.Contains(v.Replicas, id) || slices.Contains(v.Target[:i], id) {
			return fmt.Errorf("target %v: %d is doubled or not among replicas %v", v.Target, id, v.Replicas)
		}
	}
	for i, id := range v.Adding {
		if !slices.Contains(v.Target, id) || slices.Contains(v.Adding[:i], id) {
			return fmt.Errorf("adding %v: %d is doubled or not in target %v", v.Adding, id, v.Target)
		}
	}
	return nil
}

func (v configValue) check() error {
	if v == nil {
		return errors.New("want an object of settings")
	}
	return nil
}

// decode reads a value strictly; the error names the key.
func decode[V checked](key string, value []byte) (V, error) {
	var v V
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errTrailing
		}
	}
	if err == nil {
		err = v.check()
	}
	if err != nil {
		return v, badKey(key, err)
	}
	return v, nil
}

// encode writes a value. All of them are plain data, so that it cannot fail.
func encode(v checked) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("metadata: " + err.Error())
	}
	return b
}
