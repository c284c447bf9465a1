package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"touchmark/hostlink/hostd/config"
	"touchmark/hostlink/hostd/socket"
)

// Listen opens the address; a unix socket gets this mode.
func Listen(address string, mode fs.FileMode) (net.Listener, error) {
	if err := config.CheckMetrics(address); err != nil {
		return nil, fmt.Errorf("metrics on %q: %w", address, err)
	}
	if path, ok := strings.CutPrefix(address, config.UnixPrefix); ok {
		return socket.Listen(path, mode)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return l, nil
}

// Serve answers GET /metrics until ctx ends; then l is closed, and whoever was
// being answered is not waited for.
func (m *Metrics) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime}))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: scrapeTime, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader}
	var closing sync.WaitGroup
	defer closing.Wait()
	stop := context.AfterFunc(ctx, func() { closing.Go(func() { _ = s.Close() }) })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// Bounds of the listener.
const (
	maxScrapes = 4                // at once: one scraper, and somebody who looks
	scrapeTime = 10 * time.Second // what Prometheus itself waits by default
	idleTime   = 2 * time.Minute  // longer than scrapes are apart
	maxHeader  = 16 << 10         // more than any scraper sends
)
