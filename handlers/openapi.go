package handlers

import (
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humafiber"
	"github.com/gofiber/fiber/v2"

	"gavel/internal/fault"
)

// securityScheme is the name under which the document describes keys.
const securityScheme = "key"

// newAPI makes the huma API on app. Its documentation page, which would load from elsewhere, is off; so are $schema fields.
func newAPI(app *fiber.App) huma.API {
	config := huma.DefaultConfig("Gavel", "0.1.0")
	config.Info.Description = "Gavel serves ads. Advertisers manage campaigns under /v5, in the shape of the Pinterest Ads API v5; " +
		"feeds ask for ads and report events under /v1. Ids are strings of digits, amounts integers in micro currency " +
		"(1/1,000,000 of a currency unit), times Unix seconds."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		securityScheme: {Type: "http", Scheme: "bearer", Description: "A key made by `gavel key create`, as Authorization: Bearer <key>."},
	}
	return humafiber.New(app, config)
}

// serveDocument serves the OpenAPI 3.1 document, made once at the first request.
func serveDocument(app *fiber.App, api huma.API) {
	serve := func(path, contentType string, document func() ([]byte, error)) {
		made := sync.OnceValues(document)
		app.Get(path, func(c *fiber.Ctx) error {
			body, err := made()
			if err != nil {
				return fault.Wrap(fault.Internal, "internal error", err)
			}
			c.Set(fiber.HeaderContentType, contentType)
			return c.Status(http.StatusOK).Send(body)
		})
	}
	serve("/openapi.json", "application/openapi+json", api.OpenAPI().MarshalJSON)
	serve("/openapi.yaml", "application/openapi+yaml", api.OpenAPI().YAML)
}
