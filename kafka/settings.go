package kafka

import (
	"sync"

	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
)

// settingsCache keeps topics' settings in their parsed form: parsing them for
// every batch would cost more than everything else about it. An entry counts as
// long as the metadata are the same.
type settingsCache struct {
	mu      sync.RWMutex
	entries map[string]*settingsEntry
}

type settingsEntry struct {
	topic    *metadata.Topic
	revision int64 // of the image that it was parsed from
	settings topicconfig.Settings
	err      error
}

// topicSettings are the settings in effect for a topic of image. The error is of
// settings that another version wrote and this one cannot read.
func (b *Broker) topicSettings(image *metadata.Image, t *metadata.Topic) (*topicconfig.Settings, error) {
	c := &b.settings
	c.mu.RLock()
	e := c.entries[t.Name]
	c.mu.RUnlock()
	if e == nil || e.topic != t || e.revision != image.Revision {
		e = &settingsEntry{topic: t, revision: image.Revision}
		e.settings, e.err = topicconfig.Parse(t.Config, b.deps.Defaults(image))
		c.put(t.Name, e, 2*image.TopicCount()+64)
	}
	return &e.settings, e.err
}

// put keeps an entry. Deleted topics are forgotten when there are too many.
func (c *settingsCache) put(name string, e *settingsEntry, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) > limit {
		c.entries = make(map[string]*settingsEntry)
	}
	c.entries[name] = e
}
