package handlers

import (
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.yaml")

const documentPath = "../docs/openapi.yaml"

// document is /openapi.yaml or /openapi.json of an app that has no database: none is needed.
func document(t *testing.T, path string) []byte {
	t.Helper()
	app := newApp()
	api := RegisterV5(app, campaign.NewService(campaign.Config{}), campaign.NewKeyRing(nil, slog.New(slog.DiscardHandler)), nil, nil)
	DescribeV1(api)
	resp, err := app.Test(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody), -1)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return body
}

func TestDocumentIsUpToDate(t *testing.T) {
	t.Parallel()
	made := document(t, "/openapi.yaml")
	if *update {
		require.NoError(t, os.WriteFile(documentPath, made, 0o644))
	}
	kept, err := os.ReadFile(documentPath)
	require.NoError(t, err)
	require.Equal(t, string(kept), string(made), "docs/openapi.yaml is stale: go test ./handlers -run TestDocumentIsUpToDate -update")
	require.Contains(t, string(document(t, "/openapi.json")), `"openapi":"3.1.0"`)
}
