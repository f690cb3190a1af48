// Package postgres keeps conversions, and finds the click or the view that each is credited to.
package postgres
