// Command goagent is a UDF on Kapacitor's own Go agent, to measure against: the same Welch t-test
// as the Python programs beside it, for one field or several, or a mirror of every point.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"os"

	"github.com/influxdata/kapacitor/udf/agent"
)

// moments keeps the mean and the sum of squared deviations of the newest size values.
type moments struct {
	size   int
	values []float64
	oldest int
	n      float64
	mean   float64
	sum    float64
}

func (m *moments) add(value float64) {
	m.n++
	off := value - m.mean
	m.mean += off / m.n
	m.sum += off * (value - m.mean)
	if m.size == 0 {
		m.values = append(m.values, value)
		return
	}
	if len(m.values) < m.size {
		m.values = append(m.values, value)
		return
	}
	old := m.values[m.oldest]
	m.values[m.oldest] = value
	m.oldest = (m.oldest + 1) % m.size
	before := (m.n*m.mean - old) / (m.n - 1)
	m.sum -= (old - m.mean) * (old - before)
	m.mean = before
	m.n--
}

func (m *moments) variance() float64 {
	if m.n < 2 {
		return 0
	}
	return math.Max(m.sum, 0) / (m.n - 1)
}

func (m *moments) clear() {
	m.values = m.values[:0]
	m.n, m.mean, m.sum = 0, 0, 0
}

// welch returns the statistic and the two-sided p-value of Welch's t-test.
func welch(a, b *moments) (t, p float64) {
	va, vb := a.variance()/a.n, b.variance()/b.n
	if va+vb == 0 {
		return 0, 1
	}
	t = (a.mean - b.mean) / math.Sqrt(va+vb)
	df := (va + vb) * (va + vb) / (va*va/(a.n-1) + vb*vb/(b.n-1))
	return t, incompleteBeta(df/2, 0.5, df/(df+t*t))
}

// incompleteBeta is the regularized incomplete beta function, by its continued fraction
// (Abramowitz and Stegun 26.5.8), evaluated with the method of Lentz.
func incompleteBeta(a, b, x float64) float64 {
	if x <= 0 || x >= 1 {
		return math.Min(math.Max(x, 0), 1)
	}
	if x > (a+1)/(a+b+2) {
		return 1 - incompleteBeta(b, a, 1-x)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(a*math.Log(x)+b*math.Log1p(-x)-la-lb+lab) / a
	const tiny = 1e-300
	f, c, d := 1.0, 1.0, 0.0
	for i := 0; i < 500; i++ {
		m := float64(i / 2)
		var term float64
		switch {
		case i == 0:
			term = 1
		case i%2 == 0:
			term = m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		default:
			term = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		}
		d = 1 + term*d
		if math.Abs(d) < tiny {
			d = tiny
		}
		d = 1 / d
		c = 1 + term/c
		if math.Abs(c) < tiny {
			c = tiny
		}
		f *= c * d
		if math.Abs(c*d-1) < 1e-13 {
			break
		}
	}
	return front * (f - 1)
}

type handler struct {
	agent  *agent.Agent
	mirror bool
	count  int // values that the option field takes

	fields  []string
	size    int
	alpha   float64
	history []*moments
	window  []*moments
}

func (h *handler) Info() (*agent.InfoResponse, error) {
	if h.mirror {
		return &agent.InfoResponse{Wants: agent.EdgeType_STREAM, Provides: agent.EdgeType_STREAM}, nil
	}
	fields := make([]agent.ValueType, h.count)
	for i := range fields {
		fields[i] = agent.ValueType_STRING
	}
	return &agent.InfoResponse{
		Wants:    agent.EdgeType_BATCH,
		Provides: agent.EdgeType_STREAM,
		Options: map[string]*agent.OptionInfo{
			"field": {ValueTypes: fields},
			"size":  {ValueTypes: []agent.ValueType{agent.ValueType_INT}},
			"alpha": {ValueTypes: []agent.ValueType{agent.ValueType_DOUBLE}},
		},
	}, nil
}

func (h *handler) Init(r *agent.InitRequest) (*agent.InitResponse, error) {
	for _, option := range r.Options {
		switch option.Name {
		case "field":
			for _, value := range option.Values {
				h.fields = append(h.fields, value.GetStringValue())
			}
		case "size":
			h.size = int(option.Values[0].GetIntValue())
		case "alpha":
			h.alpha = option.Values[0].GetDoubleValue()
		}
	}
	if !h.mirror && (len(h.fields) == 0 || h.size < 2 || h.alpha <= 0) {
		return &agent.InitResponse{Error: "give field, size of at least 2, and alpha above 0"}, nil
	}
	for range h.fields {
		h.history = append(h.history, &moments{size: h.size})
		h.window = append(h.window, &moments{})
	}
	return &agent.InitResponse{Success: true}, nil
}

func (h *handler) Snapshot() (*agent.SnapshotResponse, error) {
	return &agent.SnapshotResponse{}, nil
}

func (h *handler) Restore(*agent.RestoreRequest) (*agent.RestoreResponse, error) {
	return &agent.RestoreResponse{Error: "keeps no state between lives"}, nil
}

func (h *handler) BeginBatch(*agent.BeginBatch) error {
	if h.mirror {
		return errors.New("a mirror takes a stream")
	}
	for _, window := range h.window {
		window.clear()
	}
	return nil
}

func (h *handler) Point(p *agent.Point) error {
	if h.mirror {
		h.agent.Responses <- &agent.Response{Message: &agent.Response_Point{Point: p}}
		return nil
	}
	for i, field := range h.fields {
		value, ok := p.FieldsDouble[field]
		if !ok {
			return fmt.Errorf("a point without field %q", field)
		}
		h.window[i].add(value)
	}
	return nil
}

func (h *handler) EndBatch(end *agent.EndBatch) error {
	scores := map[string]float64{}
	for i, field := range h.fields {
		history, window := h.history[i], h.window[i]
		t, p := 0.0, 1.0
		if history.n > 0 {
			t, p = welch(history, window)
		}
		suffix := ""
		if len(h.fields) > 1 {
			suffix = "_" + field
		}
		scores["t"+suffix], scores["pvalue"+suffix] = t, p
		if p > h.alpha {
			for _, value := range window.values {
				history.add(value)
			}
		}
	}
	h.agent.Responses <- &agent.Response{Message: &agent.Response_Point{Point: &agent.Point{
		Time: end.Tmax, Name: end.Name, Group: end.Group, Tags: end.Tags, FieldsDouble: scores,
	}}}
	return nil
}

func (h *handler) Stop() { close(h.agent.Responses) }

func main() {
	mirror := flag.Bool("mirror", false, "send every point back instead of the t-test")
	fields := flag.Int("fields", 1, "fields to test")
	flag.Parse()
	a := agent.New(os.Stdin, os.Stdout)
	a.Handler = &handler{agent: a, mirror: *mirror, count: *fields}
	if err := a.Start(); err != nil {
		log.Fatal(err)
	}
	if err := a.Wait(); err != nil {
		log.Fatal(err)
	}
}
