// Package browser tests the storefront's page in headless Chromium. It is a module of
// its own, so that what drives the browser is none of the project's dependencies.
// `make storefront-test` installs Chromium and runs it; `make storefront-picture`
// takes the README's picture as well.
package browser
