package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"understudy/cluster/replica"
	"understudy/internal/beat"
	"understudy/messages"
)

const (
	// settled is for how long a connection must have lasted for its end not to
	// count as one of several failures in a row, between which the delays grow.
	settled = time.Second
	// stallFactor times GiveUpAfter is how long one write may take.
	stallFactor = 2
)

// keeper sees to it that there is a connection to a peer, and tells what it sees.
// The states are those of Event.
type keeper struct {
	p    *peer
	o    *Options
	conn *conn // nil: none

	attempts chan attempt // what came of the attempt that is running
	running  bool
	retry    *time.Timer   // for the next one
	delay    time.Duration // before the next one; grows with each that fails
	flap     time.Duration // the same, for connections that do not last

	lastTick  time.Time
	silence   time.Duration // for how long this process has run and heard nothing
	silent    bool          // was told
	gone      bool          // was told
	byPeer    bool          // the last connection was ended by the other side
	upSince   time.Time
	heard     uint64 // of conn, at the last tick
	writing   uint64
	writeTime time.Duration
	lastErr   error  // of the last attempt
	refused   string // the refusal that was told last
}

// attempt is what came of dialing.
type attempt struct {
	conn *conn // nil after a knock
	err  error
}

// keep runs the keeper until the peer is removed or the link closed. It begins
// when the keeper of a peer of the same id that was removed before has ended.
func (p *peer) keep(before *peer) {
	defer close(p.gone)
	if before != nil {
		<-before.gone
		p.mu.Lock()
		p.known = max(p.known, before.known)
		p.mu.Unlock()
	}
	k := &keeper{p: p, o: &p.link.options, attempts: make(chan attempt, 1), retry: time.NewTimer(0), lastTick: time.Now()}
	tick := beat.NewTicker(k.o.Heartbeat / 2)
	defer tick.Stop()
	defer k.retry.Stop()
	for {
		select {
		case <-p.ctx.Done():
			k.end()
			return
		case <-p.signal:
			k.told()
		case a := <-k.attempts:
			k.attempted(a)
		case <-k.connEnded():
			k.lost()
		case <-k.retry.C:
			k.attempt()
		case <-tick.C:
			k.tick()
		}
	}
}

func (k *keeper) connEnded() <-chan struct{} {
	if k.conn == nil {
		return nil
	}
	return k.conn.ctx.Done()
}

// told looks at what others have left for the keeper.
func (k *keeper) told() {
	p := k.p
	p.mu.Lock()
	arrival, knock, moved := p.arrival, p.knocked, p.moved
	p.arrival, p.knocked, p.moved = nil, nil, false
	p.mu.Unlock()
	if moved {
		k.delay = 0
		if k.conn != nil {
			if no := p.fence(k.conn.from.Epoch); no != nil {
				k.drop(no)
			}
		}
	}
	if knock != nil {
		if k.conn != nil && (knock.peer.Epoch > k.conn.from.Epoch || knock.lost == k.conn.id) {
			k.drop(ErrReplaced)
		}
	}
	if arrival != nil {
		if no := p.fence(arrival.from.Epoch); no != nil { // not known yet when it was let in
			arrival.close(no)
		} else {
			k.drop(ErrReplaced)
			k.up(arrival)
		}
	}
	if k.conn == nil && (moved || knock != nil) {
		k.attempt()
	}
}

// attempt begins to dial, or to knock, unless that is being done.
func (k *keeper) attempt() {
	if k.running || k.conn != nil {
		return
	}
	k.running = true
	addr, lost := k.p.address(), uint64(0)
	purpose := toLink
	if !dials(k.o.Self.ID, k.p.id) {
		purpose = toKnock
	}
	k.p.mu.Lock()
	lost = k.p.lastID
	k.p.mu.Unlock()
	k.p.link.wait.Go(func() {
		c, err := k.p.dial(addr, purpose, lost)
		k.attempts <- attempt{c, err}
	})
}

// dial connects and runs the handshake.
func (p *peer) dial(addr string, why purpose, lost uint64) (*conn, error) {
	o := &p.link.options
	ctx, cancel := context.WithTimeout(p.ctx, o.DialTimeout)
	defer cancel()
	nc, err := o.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	nc = o.secure(nc, addr, true)
	stop := closeAtEnd(p.ctx, nc)
	err = limit(nc, o.HandshakeTimeout)
	var a agreement
	if err == nil {
		h := handshake{options: o, nc: nc}
		a, err = h.dial(p.id, why, lost, p.admit)
	}
	if err == nil {
		err = limit(nc, 0)
	}
	err = cmp.Or(err, stop())
	if err != nil || why == toKnock {
		_ = nc.Close() // the error is what counts
		return nil, asRefusal(err)
	}
	return p.link.newConn(nc, a, &p.stats), nil
}

// attempted looks at what came of an attempt.
func (k *keeper) attempted(a attempt) {
	k.running = false
	if a.conn != nil {
		if no := k.p.fence(a.conn.from.Epoch); no != nil { // as in told
			a.conn.close(no)
			a = attempt{err: no}
		}
	}
	switch {
	case a.conn != nil && k.conn != nil:
		a.conn.close(ErrReplaced)
	case a.conn != nil:
		k.up(a.conn)
	case k.conn == nil:
		k.failed(a.err)
		k.later(&k.delay)
	}
}

// failed takes note of why there is no connection; nil: the other side was asked
// to dial.
func (k *keeper) failed(err error) {
	if err == nil {
		return
	}
	k.lastErr = err
	if no, ok := errors.AsType[*Refusal](err); ok {
		if text := no.Error(); text != k.refused {
			k.refused = text
			k.emit(Event{Kind: Refused, Cause: handshakeError(k.p.address(), no)})
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) && k.byPeer && !k.gone {
		k.gone = true
		k.note(ProcessGone, err)
		k.emit(Event{Kind: Gone, Cause: err})
		return
	}
	k.p.mu.Lock()
	k.p.cause = err
	k.p.mu.Unlock()
}

// later sets the time of the next attempt: twice as long from one to the next,
// up to a limit, and never the same for two nodes.
func (k *keeper) later(delay *time.Duration) {
	*delay = min(max(2**delay, k.o.RetryMin), k.o.RetryMax)
	k.retry.Reset(*delay/2 + rand.N(*delay/2+1))
}

// up takes a connection over.
func (k *keeper) up(c *conn) {
	k.conn = c
	k.delay, k.silence, k.silent, k.gone, k.refused, k.lastErr = 0, 0, false, false, "", nil
	k.heard, k.writing, k.writeTime = 0, 0, 0
	k.upSince = time.Now()
	p := k.p
	p.mu.Lock()
	p.known = max(p.known, c.from.Epoch)
	p.lastID = c.id
	p.mu.Unlock()
	k.note(Connected, nil)
	p.conn.Store(c)
	k.emit(Event{Kind: Up, Peer: c.from})
	c.start()
}

// drop ends the connection, if there is one.
func (k *keeper) drop(cause error) {
	if k.conn != nil {
		k.conn.close(cause)
		k.lost()
	}
}

// lost takes note that the connection has ended, and begins to look for another.
func (k *keeper) lost() {
	c := k.conn
	k.conn = nil
	k.p.conn.Store(nil)
	c.wait.Wait() // nothing is delivered after Lost
	k.byPeer = endedByPeer(c.cause)
	k.note(Disconnected, c.cause)
	k.emit(Event{Kind: Lost, Peer: c.from, Cause: c.cause})
	if k.p.ctx.Err() != nil {
		return
	}
	if time.Since(k.upSince) >= settled {
		k.flap = 0
	}
	if k.flap == 0 {
		k.attempt()
	}
	k.later(&k.flap)
}

// tick looks for silence. Only time in which this process has run counts: after
// it was frozen itself, it has everything still to hear.
func (k *keeper) tick() {
	now := time.Now()
	elapsed := min(now.Sub(k.lastTick), k.o.Heartbeat)
	k.lastTick = now
	k.silence += elapsed
	if k.conn != nil {
		if heard := k.conn.heard.Load(); heard != k.heard {
			k.heard, k.silence = heard, 0
		}
		k.watchWrite(elapsed)
	}
	k.p.mu.Lock()
	k.p.silence = k.silence
	k.p.mu.Unlock()
	switch {
	case k.silent && k.silence == 0:
		k.silent = false
		k.note(Connected, nil)
		k.emit(Event{Kind: Back})
	case !k.silent && !k.gone && k.silence >= k.o.SilentAfter:
		k.silent = true
		state, cause := DisconnectedSilent, k.lastErr
		if k.conn != nil {
			state, cause = ConnectedSilent, nil
		}
		k.note(state, cause)
		k.emit(Event{Kind: Silent, Since: k.silence, Cause: cause})
	}
	if k.conn != nil && k.silence >= k.o.GiveUpAfter {
		k.drop(fmt.Errorf("%w for %v", ErrSilent, k.silence))
	}
}

// watchWrite ends a connection whose other side takes nothing.
func (k *keeper) watchWrite(elapsed time.Duration) {
	writing := k.conn.writing.Load()
	if writing%2 == 0 || writing != k.writing {
		k.writing, k.writeTime = writing, 0
		return
	}
	if k.writeTime += elapsed; k.writeTime >= stallFactor*k.o.GiveUpAfter {
		k.conn.close(messages.E("link", messages.RequestTimedOut, "write", errStalled))
	}
}

var errStalled = errors.New("the node has taken nothing for too long")

// end says goodbye and leaves nothing behind.
func (k *keeper) end() {
	p := k.p
	if p.link.severed.Load() && k.conn != nil {
		if tcp, ok := k.conn.nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, where the system can
		}
		k.drop(ErrClosed)
	}
	p.mu.Lock()
	p.ended = true
	arrival := p.arrival
	p.arrival = nil
	p.mu.Unlock()
	if arrival != nil {
		arrival.close(ErrRemoved)
	}
	if k.conn != nil {
		_ = k.conn.nc.SetWriteDeadline(time.Now().Add(byeTime)) // if it fails, so will the write
		k.conn.out.end()
		cause := ErrClosed
		if p.link.ctx.Err() == nil {
			cause = ErrRemoved
		}
		timeout := time.NewTimer(byeTime)
		defer timeout.Stop()
		select {
		case <-k.conn.ctx.Done():
		case <-timeout.C:
		}
		k.drop(cause)
	}
	if k.running {
		if a := <-k.attempts; a.conn != nil {
			a.conn.close(ErrRemoved)
		}
	}
}

// note sets the state that Peers shows.
func (k *keeper) note(s PeerState, cause error) {
	k.p.mu.Lock()
	defer k.p.mu.Unlock()
	k.p.state, k.p.since, k.p.cause = s, time.Now(), cause
}

// emit tells an event of this peer.
func (k *keeper) emit(e Event) {
	k.p.mu.Lock()
	if e.Peer == (replica.Member{}) {
		e.Peer = k.p.member()
	}
	e.Addr = k.p.addr
	k.p.mu.Unlock()
	k.o.OnEvent(e)
}
