package telemetry

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// barCells is how wide a timeline is on a terminal.
const barCells = 24

// writeTraceText draws the trace as a tree with a timeline, for a terminal.
func writeTraceText(w io.Writer, v traceView) {
	fmt.Fprintf(w, "%s   %s   %s   %s\n", plain(v.Name), formatUS(v.DurationUS), counted(v.Count, "span"),
		v.Start.Format("2006-01-02 15:04:05.000 UTC"))
	fmt.Fprintf(w, "trace %s\n", v.TraceID)
	if !v.Complete {
		fmt.Fprintln(w, "not complete yet: the span that began it has not ended")
	}
	if v.Dropped > 0 {
		fmt.Fprintf(w, "%d more spans were not kept\n", v.Dropped)
	}
	fmt.Fprintln(w)

	names := 0
	for _, s := range v.Spans {
		names = max(names, utf8.RuneCountInString(s.Branch+plain(s.Name)))
	}
	for _, s := range v.Spans {
		notes := s.Notable
		if s.Failed {
			notes = append([]string{"FAILED " + plain(s.Failure)}, notes...)
		}
		for _, id := range s.Links {
			notes = append(notes, "caused-by="+id)
		}
		line := fmt.Sprintf("%s  %10s  ▕%s▏ %s", padded(s.Branch+plain(s.Name), names), formatUS(s.DurationUS),
			bar(s.Left, s.Width), strings.Join(notes, " "))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// writeListText writes one line per trace.
func writeListText(w io.Writer, traces []traceView) {
	if len(traces) == 0 {
		fmt.Fprintln(w, "no traces yet")
		return
	}
	names := 0
	for _, t := range traces {
		names = max(names, utf8.RuneCountInString(plain(t.Name)))
	}
	for _, t := range traces {
		line := fmt.Sprintf("%s  %s  %s  %10s  %9s  %s", t.Start.Format("15:04:05.000"), t.TraceID,
			padded(plain(t.Name), names), formatUS(t.DurationUS), counted(t.Count, "span"), t.Outcome())
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// bar draws the part of the timeline that a span takes, at least one cell.
func bar(left, width float64) string {
	from := min(int(left/100*barCells+0.5), barCells-1)
	to := min(max(int((left+width)/100*barCells+0.5), from+1), barCells)
	return strings.Repeat(" ", from) + strings.Repeat("█", to-from) + strings.Repeat(" ", barCells-to)
}

func padded(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

// plain is s without what would move the cursor of a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '�'
		}
		return r
	}, s)
}
