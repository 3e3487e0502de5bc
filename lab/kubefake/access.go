package kubefake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// credentials are an API server's certificate, and the token of the one user that it knows.
type credentials struct {
	cert  tls.Certificate
	token string
}

// secret is how they are kept: a region that comes back is the same cluster, and the nodes' kubeconfigs still open it.
type secret struct {
	Cert, Key []byte // PEM
	Token     string
}

// access reads the credentials of a region's cluster, or makes them, and the kubeconfig that belongs to them.
func access(dir, region, addr string) (*credentials, error) {
	path := filepath.Join(dir, "kube-"+region+".secret")
	var s secret
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, fmt.Errorf("the credentials of the cluster in %s: %s: %w", region, path, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		if s, err = newSecret(addr); err != nil {
			return nil, fmt.Errorf("credentials for the cluster in %s: %w", region, err)
		}
		if b, err = json.Marshal(s); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return nil, fmt.Errorf("credentials for the cluster in %s: %w", region, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "kube-"+region+".yaml"), kubeconfig(addr, s), 0o600); err != nil {
			return nil, fmt.Errorf("the kubeconfig of the cluster in %s: %w", region, err)
		}
	default:
		return nil, fmt.Errorf("the credentials of the cluster in %s: %w", region, err)
	}
	cert, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		return nil, fmt.Errorf("the certificate of the cluster in %s: %w", region, err)
	}
	return &credentials{cert, s.Token}, nil
}

// newSecret makes a certificate that signs itself, and a token.
func newSecret(addr string) (secret, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return secret{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return secret{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, IPAddresses: []net.IP{net.ParseIP(host)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return secret{}, err
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return secret{}, err
	}
	token := make([]byte, 16)
	if _, err := rand.Read(token); err != nil {
		return secret{}, err
	}
	return secret{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}),
		Token: hex.EncodeToString(token)}, nil
}

// kubeconfig is what lies on each node.
func kubeconfig(addr string, s secret) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: failoverd
clusters:
  - {name: prod, cluster: {server: "https://%s", certificate-authority-data: %s}}
users:
  - {name: failoverd, user: {token: %s}}
contexts:
  - {name: failoverd, context: {cluster: prod, user: failoverd}}
`, addr, base64.StdEncoding.EncodeToString(s.Cert), s.Token)
}
