//go:build cluster

package cluster

import (
	"fmt"
	"html"
	"maps"
	"slices"
	"strings"
	"time"
)

// figures are what a run came to.
type figures struct {
	length   time.Duration
	acked    int
	faults   int
	byFault  map[string][]time.Duration // how long all took to go on
	slowest  time.Duration
	late     []span // that took longer than lateAfter
	quietFor time.Duration
}

// lateAfter is how soon every partition is to take writes when a fault was healed.
const lateAfter = 5 * time.Second

func (c *chaos) figures() figures {
	f := figures{byFault: map[string][]time.Duration{}, length: time.Since(c.tables.began), acked: c.loads.acked() + c.plain.acked()}
	c.time.mu.Lock()
	defer c.time.mu.Unlock()
	for _, s := range c.time.spans {
		switch s.name {
		case "quiet":
			f.quietFor += s.to.Sub(s.from)
		case "the end":
		default:
			f.faults++
			f.byFault[s.name] = append(f.byFault[s.name], s.back)
			f.slowest = max(f.slowest, s.back)
			if s.back > lateAfter {
				f.late = append(f.late, s)
			}
		}
	}
	return f
}

// summary is the run in a few lines.
func (c *chaos) summary() string {
	f := c.figures()
	text := fmt.Sprintf("seed %d, %d brokers, %v: %d records acknowledged, %d faults, %v quiet\n",
		*seed, len(c.nodes), f.length.Round(time.Second), f.acked, f.faults, f.quietFor.Round(time.Second))
	text += fmt.Sprintf("from the healing until every partition took a write: at most %.2f s, more than %v after %d faults\n", f.slowest.Seconds(), lateAfter, len(f.late))
	for _, s := range f.late {
		text += fmt.Sprintf("  %s, %s, from %s to %s: %.2f s\n", s.name, s.whom, s.from.Format(time.TimeOnly), s.to.Format(time.TimeOnly), s.back.Seconds())
	}
	if c.tables.verdict == nil {
		return text + "it did not come to a verdict\n"
	}
	return text + c.tables.verdict.String()
}

// page is the report, one page of HTML with nothing outside of it.
func (c *chaos) page() string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	verdict := "kept"
	if c.t.Failed() || c.tables.verdict == nil || !c.tables.verdict.Good() {
		verdict = "BROKEN"
	}
	put("<!doctype html><meta charset=utf-8><title>chaos, seed %d</title>\n", *seed)
	put("<style>body{font:14px sans-serif;max-width:1200px;margin:2em auto}td,th{padding:2px 10px;text-align:right}td:first-child,th:first-child{text-align:left}pre{background:#f4f4f4;padding:1em;white-space:pre-wrap}</style>\n")
	put("<h1>Promises %s</h1>\n<pre>%s</pre>\n", verdict, html.EscapeString(c.summary()))
	c.time.mu.Lock()
	put("%s", c.time.svg(len(c.nodes)))
	c.time.mu.Unlock()
	f := c.figures()
	put("<h2>Faults</h2><table><tr><th>fault<th>times<th>all go on after, median<th>worst\n")
	for _, name := range slices.Sorted(maps.Keys(f.byFault)) {
		median, worst := medianAndWorst(slices.Clone(f.byFault[name]))
		put("<tr><td>%s<td>%d<td>%.2f s<td>%.2f s\n", html.EscapeString(name), len(f.byFault[name]), median.Seconds(), worst.Seconds())
	}
	put("</table>\n<h2>Changes by an administrator</h2><table><tr><th>change<th>done<th>refused\n")
	c.admin.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(c.admin.counts)) {
		put("<tr><td>%s<td>%d<td>%d\n", html.EscapeString(name), c.admin.counts[name][0], c.admin.counts[name][1])
	}
	c.admin.mu.Unlock()
	put("</table>\n<h2>Longest time without an acknowledgement</h2><table><tr><th>client<th>seconds\n")
	for _, ls := range []*loads{c.loads, c.plain} {
		ls.mu.Lock()
		for _, l := range ls.all {
			worst := time.Duration(0)
			for _, p := range l.parts {
				worst = max(worst, p.produced.during, p.produced.after)
			}
			put("<tr><td>%s, %s<td>%.2f\n", html.EscapeString(l.name), ls.topic, worst.Seconds())
		}
		ls.mu.Unlock()
	}
	put("</table>\n<h2>Not done on this machine</h2><ul>\n")
	for _, why := range c.unable {
		put("<li>%s\n", html.EscapeString(why))
	}
	put("</ul>\n")
	return b.String()
}

// svg draws faults, leaders and throughput over time.
func (l *timeline) svg(nodes int) string {
	if len(l.samples) < 2 {
		return ""
	}
	const width, rows, high = 1160.0, 90.0, 120.0
	began, ended := l.samples[0].at, l.samples[len(l.samples)-1].at
	x := func(at time.Time) float64 {
		return min(max(width*at.Sub(began).Seconds()/max(ended.Sub(began).Seconds(), 1), 0), width)
	}
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	put("<svg viewBox='0 0 %.0f %.0f' width='100%%'>\n", width, high+rows+60)
	for _, s := range l.spans {
		to := s.to
		if to.IsZero() {
			to = ended
		}
		color := "#e88"
		if s.name == "quiet" || s.name == "the end" {
			color = "#dfd"
		}
		put("<rect x='%.1f' y='0' width='%.1f' height='%.0f' fill='%s' opacity='.6'><title>%s</title></rect>\n",
			x(s.from), max(x(to)-x(s.from), 1), high+rows+30, color, html.EscapeString(s.name+" "+s.whom))
	}
	most := 1.0
	rate := func(i int) float64 {
		return float64(l.samples[i].acked-l.samples[i-1].acked) / max(l.samples[i].at.Sub(l.samples[i-1].at).Seconds(), 0.001)
	}
	for i := range l.samples[1:] {
		most = max(most, rate(i+1))
	}
	put("<polyline fill='none' stroke='#03c' points='")
	for i := range l.samples[1:] {
		put("%.1f,%.1f ", x(l.samples[i+1].at), high-(high-20)*rate(i+1)/most)
	}
	put("'/>\n<text x='2' y='12' font-size='11'>acknowledged: at most %.0f records/s; one row below for each partition of %s: who leads</text>\n", most, topic)
	colors := []string{"#444", "#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e"}
	for i := range l.samples[1:] {
		from, to := l.samples[i], l.samples[i+1]
		for p, id := range from.leaders {
			color := "#fff"
			if id > 0 {
				color = colors[int(id)%len(colors)]
			}
			put("<rect x='%.1f' y='%.0f' width='%.1f' height='12' fill='%s'/>", x(from.at), high+10+float64(p)*15, max(x(to.at)-x(from.at), .5), color)
		}
	}
	for n := range nodes {
		put("<text x='%d' y='%.0f' font-size='11' fill='%s'>node %d</text>", 2+60*n, high+rows+50, colors[(n+1)%len(colors)], n+1)
	}
	put("\n</svg>\n")
	return b.String()
}
