package com.example;

import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettySslContextChannelCredentials;
import io.netty.handler.ssl.SslContextBuilder;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executor;

/**
 * Opens channels with the credentials of the Python client's environment variables: GROUNDS_CA, GROUNDS_CERTIFICATE and
 * GROUNDS_KEY, or GROUNDS_TOKEN_FILE.
 */
final class Channels {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private Channels() {}

  /** Opens a channel; without GROUNDS_CA, in plaintext. */
  static ManagedChannel open(String address) throws IOException {
    return Grpc.newChannelBuilder(address, credentials()).build();
  }

  private static ChannelCredentials credentials() throws IOException {
    String ca = System.getenv("GROUNDS_CA");
    if (ca == null) {
      return InsecureChannelCredentials.create();
    }
    // The server requires TLS 1.3, which older releases of Netty do not enable by default.
    SslContextBuilder tls = GrpcSslContexts.forClient().protocols("TLSv1.3").trustManager(new File(ca));
    String certificate = System.getenv("GROUNDS_CERTIFICATE");
    if (certificate != null) {
      tls.keyManager(new File(certificate), new File(System.getenv("GROUNDS_KEY")));
    }
    ChannelCredentials channel = NettySslContextChannelCredentials.create(tls.build());
    String tokenFile = System.getenv("GROUNDS_TOKEN_FILE");
    return tokenFile == null ? channel : CompositeChannelCredentials.create(channel, new TokenFile(Path.of(tokenFile)));
  }

  /** Adds the bearer token of a file, which is read again for each call. */
  private static final class TokenFile extends CallCredentials {
    private final Path path;

    private TokenFile(Path path) {
      this.path = path;
    }

    @Override
    public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
      Metadata metadata = new Metadata();
      try {
        metadata.put(AUTHORIZATION, "Bearer " + Files.readString(path).strip());
      } catch (IOException error) {
        applier.fail(Status.UNAUTHENTICATED.withCause(error));
        return;
      }
      applier.apply(metadata);
    }

    @Override
    public void thisUsesUnstableApi() {}
  }
}
