import com.sun.net.httpserver.BasicAuthenticator;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.lang.instrument.Instrumentation;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.jolokia.backend.BackendManager;
import org.jolokia.config.ConfigKey;
import org.jolokia.config.Configuration;
import org.jolokia.http.HttpRequestHandler;
import org.jolokia.restrictor.AllowAllRestrictor;
import org.jolokia.util.LogHandler;

/** Serves Jolokia where ActiveMQ's web console does, for the user "admin" with the password "lab". */
public final class Jolokia {
    private Jolokia() {}

    public static void premain(String arguments, Instrumentation instrumentation) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(8161), 0);
        server.createContext("/api/jolokia", new Answers()::answer).setAuthenticator(new BasicAuthenticator("lab") {
            @Override
            public boolean checkCredentials(String user, String password) {
                return user.equals("admin") && password.equals("lab");
            }
        });
        server.start();
    }

    /** Made with the first request: the broker's beans are not there when the virtual machine starts. */
    private static final class Answers {
        private HttpRequestHandler handler;

        void answer(HttpExchange exchange) throws IOException {
            String uri = exchange.getRequestURI().getPath();
            String text;
            try {
                text = ask(exchange, uri);
            } catch (RuntimeException error) {
                text = handler().handleThrowable(error).toJSONString();
            }
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json; charset=utf-8");
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        }

        private String ask(HttpExchange exchange, String uri) throws IOException {
            if (exchange.getRequestMethod().equals("POST")) {
                return handler().handlePostRequest(uri, exchange.getRequestBody(), "UTF-8", Map.of()).toJSONString();
            }
            String path = uri.substring("/api/jolokia".length());
            return handler().handleGetRequest(uri, path, Map.of()).toJSONString();
        }

        private synchronized HttpRequestHandler handler() {
            if (handler == null) {
                Configuration configuration = new Configuration(ConfigKey.AGENT_ID, "lab");
                LogHandler log = new Quiet();
                BackendManager backend = new BackendManager(configuration, log, new AllowAllRestrictor());
                handler = new HttpRequestHandler(configuration, backend, log);
            }
            return handler;
        }
    }

    private static final class Quiet implements LogHandler {
        @Override
        public void debug(String message) {}

        @Override
        public void info(String message) {}

        @Override
        public void error(String message, Throwable cause) {
            System.err.println(message + ": " + cause);
        }
    }
}
