// Command mongo serves the MongoDB wire protocol from SQLite files, for tests.
//
// FerretDB 1.x finds a document, edits it and writes it back, so that two updates of one document at the same time
// can lose one; MongoDB's are atomic. Hence a front lets one request through at a time, from its first byte to the
// last byte of its reply.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
)

const (
	headBytes    = 16
	mostBytes    = 64 << 20 // clients send at most 48 MB
	replySeconds = 60
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address to serve on")
	data := flag.String("data", "data", "folder of the SQLite files, which exists")
	flag.Parse()
	if err := run(*listen, *data); err != nil {
		log.Fatal(err)
	}
}

func run(listen, data string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	behind, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Handler:   "sqlite",
		SQLiteURL: "file:" + data + "/",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- behind.Run(ctx) }()
	address, err := url.Parse(behind.MongoDBURI())
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go accept(listener, address.Host)
	return <-ended
}

func accept(listener net.Listener, behind string) {
	var turn sync.Mutex
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			if err := serve(client, behind, &turn); err != nil && err != io.EOF {
				log.Print(err)
			}
		}()
	}
}

// serve passes one client's requests on, each in its turn, until the client leaves.
func serve(client net.Conn, address string, turn *sync.Mutex) error {
	defer client.Close()
	behind, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer behind.Close()
	for {
		request, err := read(client)
		if err != nil {
			return err
		}
		reply, err := ask(behind, request, turn)
		if err != nil {
			return err
		}
		if _, err := client.Write(reply); err != nil {
			return err
		}
	}
}

// ask returns the reply, or nothing for a request that wants none.
func ask(behind net.Conn, request []byte, turn *sync.Mutex) ([]byte, error) {
	turn.Lock()
	defer turn.Unlock()
	// bulks of many updates hang FerretDB for good: better to end than to let every client wait
	hung := time.AfterFunc(replySeconds*time.Second, func() { log.Fatalf("no reply within %d s", replySeconds) })
	defer hung.Stop()
	if _, err := behind.Write(request); err != nil || !wantsReply(request) {
		return nil, err
	}
	return read(behind)
}

// read returns one message: an int32 length that counts itself, then the rest.
func read(from io.Reader) ([]byte, error) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(from, length); err != nil {
		return nil, err
	}
	bytes := binary.LittleEndian.Uint32(length)
	if bytes < headBytes || bytes > mostBytes {
		return nil, fmt.Errorf("a message of %d bytes", bytes)
	}
	message := append(make([]byte, 0, bytes), length...)[:bytes]
	_, err := io.ReadFull(from, message[4:])
	return message, err
}

// wantsReply is false for an OP_MSG that says moreToCome: a write that nobody acknowledges.
func wantsReply(request []byte) bool {
	const opMsg, moreToCome = 2013, 2
	isMessage := binary.LittleEndian.Uint32(request[12:]) == opMsg && len(request) >= headBytes+4
	return !isMessage || binary.LittleEndian.Uint32(request[headBytes:])&moreToCome == 0
}
