package main

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"
)

// codec encodes messages with google.golang.org/protobuf. Only the gRPC of Debian 12 (1.33) needs it: that is built with an
// older protobuf, which cannot read code of today's protoc-gen-go. Remove this file with a current gRPC.
type codec struct{}

func (codec) Name() string { return "proto" }
func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}
func (codec) Unmarshal(content []byte, message interface{}) error {
	return proto.Unmarshal(content, message.(proto.Message))
}

func init() { encoding.RegisterCodec(codec{}) }
