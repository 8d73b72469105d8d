// Credentials from the environment variables of the Python client: GROUNDS_CA, GROUNDS_CERTIFICATE and GROUNDS_KEY, or GROUNDS_TOKEN_FILE.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// dialOptions returns the options for TLS; without GROUNDS_CA, those for plaintext.
func dialOptions() ([]grpc.DialOption, error) {
	ca := os.Getenv("GROUNDS_CA")
	if ca == "" {
		return []grpc.DialOption{grpc.WithInsecure()}, nil
	}
	authorities, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	if !config.RootCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s: contains no certificate", ca)
	}
	if path := os.Getenv("GROUNDS_CERTIFICATE"); path != "" {
		certificate, err := tls.LoadX509KeyPair(path, os.Getenv("GROUNDS_KEY"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	if path := os.Getenv("GROUNDS_TOKEN_FILE"); path != "" {
		options = append(options, grpc.WithPerRPCCredentials(tokenFile(path)))
	}
	return options, nil
}

// tokenFile is the path of a file with a bearer token, which is read again for each call.
type tokenFile string

// GetRequestMetadata returns the metadata of a call.
func (path tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(path))
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, err
}

// RequireTransportSecurity returns true, so that the token is never sent in plaintext.
func (tokenFile) RequireTransportSecurity() bool { return true }
